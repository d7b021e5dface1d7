# The last match wins, whichever way it decides.
mkdir a b
for file in a/one a/two b/one b/two; do printf x > $file; done
printf '%s\n' '*/one' '!a/one' 'a' '!a/two' 'b/../b/two' './/.dockerignore' > .dockerignore
