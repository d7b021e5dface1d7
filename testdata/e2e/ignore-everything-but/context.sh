# With an ignore file.
mkdir -p a/b c
for file in a/one a/two a/b/three c/four five .hidden; do printf x > $file; done
printf '%s\n' '*' '!a/two' '!c' > .dockerignore
