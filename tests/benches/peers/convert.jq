# What a shell pipeline does: values and timestamps, without any names.
select(.messageType == "DATA_MESSAGE")
| .logEvents[]
| (.timestamp / 1000 | floor | todate[:19]) + "." + (.timestamp % 1000 + 1000 | tostring[1:]) + "Z,"
  + (.message / " " | join(","))
