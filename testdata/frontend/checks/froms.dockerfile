ARG TAG
ARG NAME=debian
ARG PLATFORM=linux/arm64
FROM ${NAME}:${TAG:-13} AS fine
FROM ${NAME}:13${VARIANT} AS undeclared
FROM --platform=$TARGETPLATFORM debian:13 AS redundant
FROM --platform=linux/arm64 debian:13 AS constant
FROM --platform=linux/arm64 debian:13 AS named-arm64
FROM --platform=$PLATFORM debian:13 AS chosen
FROM --platform=${TARGETPLATFROM:-linux/amd64} debian:13 AS misspelt
