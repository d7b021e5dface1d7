printf x > '#a'; printf x > b
printf '%s\n' ' #a' '#b' .dockerignore > .dockerignore
