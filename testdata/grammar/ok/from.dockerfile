# syntax=docker/dockerfile:1
# check=skip=StageNameCasing;error=true
ARG VERSION=3.20 NAME other="two words"

# the builder
# compiles
FROM --platform=$BUILDPLATFORM alpine:${VERSION:-latest} AS Build-1.x
from scratch
