"""What the embedded servers and the demo share."""

from sinks.embedded.processes import free_port, port_is_free


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(1_500)]  # of some 14,000: looked up one by one, about eighty would be doubles
    assert len(set(ports)) == len(ports)
    assert port_is_free(ports[-1])
