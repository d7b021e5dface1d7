"""Greets whoever asks, with the host's name and the number of visits so far."""

import itertools
import os
import socket

from flask import Flask

app = Flask(__name__)
visits = itertools.count(1)


@app.route("/")
def hello():
    name = os.environ.get("NAME", "World")
    return f"<h3>Hello {name}!</h3><b>Host:</b> {socket.gethostname()}<br/><b>Visits:</b> {next(visits)}\n"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
