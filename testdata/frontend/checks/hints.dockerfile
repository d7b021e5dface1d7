# check=experimental=all
FROM debian AS unneeded
COPY .env id_rsa /
FROM registry.example:5000/debian AS base
USER app
COPY server.key .env.example site/app.conf /etc/app/
COPY <<app.conf /etc/app/
here
app.conf
RUN apt-get update
RUN apt-get update; apt-get install -y curl
USER 0:0
FROM base
COPY --chown=app . /app/
RUN A=1 curl -sSf https://example.org/list | grep "a|b" > /list || true; npm ci --omit=dev
RUN npm ci
