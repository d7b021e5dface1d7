FROM alpine
[2JRUN x
EXPOSE ]0;title 80 ‮eighty
RUN 	--netw[1A=x y
COPY	--chmod=	b	c
STOPSIGNAL SIGX
