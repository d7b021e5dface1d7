# check=experimental=all

FROM debian:13 AS tools
COPY .env /root/
COPY --from=docker.io/library/alpine:3 /etc/passwd /etc/group /
# check=skip=UnusedStage // for those who test
FROM debian@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS tests
FROM debian:13
COPY package.json package-lock.json /app/
RUN npm ci && echo 'curl | sh' || true
COPY . /app/
RUN npm ci --omit=dev
COPY --from=tools /root/tool.conf /etc/
RUN use
COPY --from=tools /root/tool.conf /etc/
COPY conf.d /etc/conf.d
COPY other.d /etc/conf.d
RUN apt-get update && xargs apt-get install -y < packages && apt-get dist-clean
RUN set -o pipefail; curl https://example.org | tar x
RUN ["curl", "|", "sh"]
RUN <<EOF
#!/usr/bin/env python3
curl | sh
EOF
USER app
