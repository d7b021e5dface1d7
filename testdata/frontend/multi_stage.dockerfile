# Two stages that are used, one that is not, and an image copied from.
ARG VERSION=1.2
FROM golang:${VERSION} AS build
ARG VERSION
ENV CGO_ENABLED=0 \
    PATH=/go/bin:$PATH
WORKDIR /src/
COPY --chown=1000:app --chmod=0644 go.mod go.sum ./
RUN --mount=type=cache,target=/root/.cache,sharing=locked,uid=7 \
    --mount=type=bind,source=vendor,target=vendor \
    --network=none go build -o /out/app
FROM alpine AS unused
RUN false
FROM scratch
COPY --from=build /out/app /bin/
COPY --from=busybox:1.36 --exclude=*.txt /etc/*.conf /etc/
USER 1000:1000
EXPOSE 7000-7002 53/UDP
ENTRYPOINT ["/bin/app"]
CMD ["--serve"]
LABEL version=$VERSION
