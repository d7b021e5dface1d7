FROM busybox
COPY --link a /b/
COPY --link --chown=7:8 a /c
COPY --link --chown=app a /d
COPY --link --chmod=600 a /e
ADD --link=false a /f
ADD --link <<here /g
text
here
