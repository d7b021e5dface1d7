# Two names for one file.
mkdir h
printf x > h/a
ln h/a h/b
