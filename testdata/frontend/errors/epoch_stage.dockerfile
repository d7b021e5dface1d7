ARG SOURCE_DATE_EPOCH=when
FROM scratch AS When
COPY stamp /
FROM scratch
COPY . /
