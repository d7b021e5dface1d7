FROM a
RUN <<EOF
echo $hello \
  'there'
EOF
RUN python3 <<-'PY' && cat 3<<END
	print("x")
	PY
more
END
COPY <<A.txt <<-"BC" plain /dir/
value of $X \$ "${Y:-'z'}"
A.txt
		raw $X
	BC
ADD --chown=$U <<file /f
file
ONBUILD RUN <<E
body
E
RUN ["cat", "<<EOF"]
