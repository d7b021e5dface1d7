# A star and a question mark stay within one name; two stars stand for any number of directories, none too.
mkdir -p a/b
for file in x.o a/x.o a/b/x.o y.c a/y.c a/b/y.c; do printf x > $file; done
printf '%s\n' '*.o' '**/?.c' .dockerignore > .dockerignore
