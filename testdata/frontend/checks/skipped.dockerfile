# check=skip=JSONArgsRecommended,StageNameCasing;experimental=InvalidDefinitionDescription
# BASE is no name of a stage
FROM debian:13 AS Base
CMD one
# check=skip=LegacyKeyValueFormat // it is quoted elsewhere
ENV a b
ENV c d
# VERSION is described
# check=skip=all // but not by this
ARG VERSION
# something else
ARG OTHER=1

# An empty line sets a comment apart.

ARG FREE=1
