# syntax=a
# SYNTAX=b
# escape=``
# other=x
# check=skip=all
FROM a
RUN a ``
