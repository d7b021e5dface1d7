# escape=`

  # only
