ARG PORT=eighty
FROM alpine AS base
ARG PORT
EXPOSE $PORT
RUNN <<EOF
FRMO nowhere
EOF
COPY --chmod=9z --chown="${OWNER:?is needed}" a b
RUN --netwrok=none make
RUN --mount=type=cach,target=/x make
LABEL "open
STOPSIGNAL SIGNOPE
WORKDIR /
RUN --mount=type=bind,target=. make

FROM base AS tools
VOLUME ${PORT##*} /ok
FROM base AS unused
EXPOSE zero

FROM base
COPY --from=7 --chmod=o+q a b
COPY --form=tools a b
ENV A="${PORT%x}" B="${PORT?}" C="x${MISSING:?is needed}" D="${MISSING?too}"
EXPOSE $A
EXPOSE x y $PORT 65536
