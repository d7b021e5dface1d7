FROM debian:13
ARG VERSION=1 DECLARED
ENV APP_VERSION=$VERSION EMPTY=$DECLARED LATER=$APP_VERSION
ENV NOW=$APP_VERSOIN$APP_VERSOIN
LABEL a="$b" c$c=${d:-$e}
COPY --chown=$user $from \
     <<EOF $to
$body '$quoted'
EOF
COPY <<'EOF' /literal
$literal
EOF
RUN --mount=type=cache,target=/cache$cache echo $shell
EXPOSE $port
ONBUILD COPY $later /
ENV LEGACY some value
LABEL legacy value
ARG API_KEY TOKEN_FILE
ENV DB_PASSWORD=x
