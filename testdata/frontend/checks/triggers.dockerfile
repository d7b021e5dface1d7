FROM debian:13 AS base
ONBUILD CMD one
ONBUILD WORKDIR here
FROM base
CMD ["two"]
FROM debian:13-with-triggers
