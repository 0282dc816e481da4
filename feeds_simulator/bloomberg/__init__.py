"""The simulated Bloomberg: a server that knows subscriptions, and the SDK's shape in front of it."""
