"""A steady load, as a handful of old-fashioned clients make it: keep-alive connections, one request after another."""

import http.client
import threading
import time

CLIENTS = 5
RATE = 50  # requests a second, of all clients together


class Load:
    """Runs for `seconds`; afterwards `sent` and `failures` tell how it went."""

    def __init__(self, address, seconds):
        self.address, self.seconds = address, seconds
        self.sent, self.failures = 0, []
        self.lock = threading.Lock()

    def run(self):
        clients = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return self

    def _client(self, number):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        pause = CLIENTS / RATE
        began = time.monotonic()
        due = began + number * pause / CLIENTS
        while due < began + self.seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            due += pause
            failure = self._request(connection)
            with self.lock:
                self.sent += 1
                if failure:
                    self.failures.append((round(time.monotonic() - began, 3), failure))
        connection.close()

    def _request(self, connection):
        """Nothing when it went well. A connection that breaks is a failure, too: nobody gave it leave to."""
        try:
            connection.request("GET", "/invoices?page=1")
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        return None if 200 <= answer.status < 300 else f"{answer.status} {body[:300]!r}"
