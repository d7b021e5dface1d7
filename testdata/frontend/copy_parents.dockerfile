FROM alpine
# Each names a directory to copy from, and what alone to take of it.
COPY --parents x/a.txt ./y/*.txt /to/
COPY --parents --chown=1:2 /x/./y/./z/ /to
# All of a directory: as without the flag.
COPY --parents ./ x/./ /to/
