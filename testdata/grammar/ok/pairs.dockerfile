FROM a
ENV A=1 B="two words" C=it\'s D='$raw' E=${A}$B F= "G"=x
ENV legacy   value with "quotes" = and $A  
LABEL com.example.key="multi \
line" $K=v
LABEL old style
