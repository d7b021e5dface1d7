# Escape = `
FROM a
RUN dir C:\ `
  # gone
  /s `  
  /b
COPY a` b C:\x\
ENV P="C:\a`"b" Q=`$x
RUN <<EOF
line
EOF
