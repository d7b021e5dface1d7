FROM alpine AS base
RUN --mount=type=cach,target=/x --mount=typ=bind,target=/y true
COPY --chmod=9z a b
EXPOSE eighty
STOPSIGNAL SIGNOPE
HEALTHCHECK --interval=5 CMD true
ENV A="${B:?B must be given}"
COPY --from=later /a /b
RUN --network=hos true
FROM alpine AS later
FROM base
