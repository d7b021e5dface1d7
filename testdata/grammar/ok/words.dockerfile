FROM a
ENV A=$x B=${x} C=${x:-a} D=${x-a} E=${x:+a} F=${x+a} G=${x:?a} H=${x?a}
ENV A=${x#a*} B=${x##a*} C=${x%\*a} D=${x%%?a} E=${x/a/b} F=${x//a\/b/$c} G=${/x/y}
ENV A="${x:-$y z}" B='$x' C=\$x D="\$x" E=$$ F=$ G=${x:-${y:-${z}}} H=$1a I=é$é
