-- Its rows are in `status` since 0030.

DROP TABLE IF EXISTS market.status_log;
