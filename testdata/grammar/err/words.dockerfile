FROM a
COPY "a b" c
ENV A='x
ENV B=${x
ENV C=${x/a}
ENV D=${} E=${x:#y}
LABEL a=${x@Q} b="${y
WORKDIR ${x:-"a}
EXPOSE ${{p}}
RUN echo ${x@Q} 'unclosed
COPY <<E /e
line one
it's ${broken
E
USER ok
