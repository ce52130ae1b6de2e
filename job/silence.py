"""A job over several hosts ends when one of them is cut off. MPI itself would wait for that host, for hours or for ever.

Each rank on another host than rank 0's keeps a connection to rank 0, through which nothing is sent. The systems of both hosts
ask each other for signs of life (TCP keepalive), and answer however busy the processes are. So a rank may work on a unit for
any time.
"""

import socket
import threading
import time

# Seconds without a word, seconds between questions, and how many stay unanswered before a host counts as silent.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 5}


def watch(comm, ended):
    """Watch the hosts of the ranks of `comm`, from threads. `ended(names)` is called when hosts of these names are silent.

    Returns {name: what is in the way} of hosts that cannot be watched, the same on all ranks.
    """
    names = comm.allgather(socket.gethostname())
    away = [rank for rank, name in enumerate(names) if name != names[0]]
    if not away:
        return {}
    server = socket.create_server(("", 0), backlog=len(away)) if comm.rank == 0 else None
    port = comm.bcast(server and server.getsockname()[1])
    connections, error = {}, None
    if comm.rank in away:
        try:
            connections[names[0]] = [socket.create_connection((names[0], port), timeout=10)]
            connections[names[0]][0].sendall(comm.rank.to_bytes(4, "big"))
        except OSError as caught:
            error = str(caught)
    errors = comm.allgather(error)
    if server:
        for _ in range(sum(errors[rank] is None for rank in away)):
            connection = server.accept()[0]
            rank = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
            connections.setdefault(names[rank], []).append(connection)
        server.close()
    silent = []
    for name, theirs in connections.items():
        for connection in theirs:
            threading.Thread(target=_listen, args=(connection, name, silent, ended), daemon=True).start()
    return {name: error for name, error in zip(names, errors, strict=True) if error}


def _listen(connection, name, silent, ended):
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        number = getattr(socket, option, None) or socket.TCP_KEEPALIVE  # macOS's name for the first
        connection.setsockopt(socket.IPPROTO_TCP, number, value)
    try:
        connection.recv(1)  # returns when the rank at the other end has ended, which is MPI's to notice
    except OSError:
        silent.append(name)
        if len(silent) == 1:
            time.sleep(1)  # for others that are silent too
            ended(sorted(set(silent)))
