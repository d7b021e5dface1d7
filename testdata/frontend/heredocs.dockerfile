FROM debian
ENV NAME=kiln
RUN <<EOF
echo $NAME
EOF
RUN <<-SCRIPT
	#!/usr/bin/env python3
	print("hello")
SCRIPT
RUN cat <<A - <<B
a
A
b
B
COPY <<greeting <<"raw" /etc/
hello $NAME
greeting
hello $NAME
raw
ADD archive.tar.gz /opt/
HEALTHCHECK --interval=90s --retries=3 CMD curl -f localhost
STOPSIGNAL SIGINT
SHELL ["/bin/bash", "-ec"]
RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=key,mode=0444 --mount=type=tmpfs,target=/tmp,size=64m make
VOLUME /data
