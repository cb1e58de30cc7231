-- tenon.stage: the stages written in Lua. Those in C (read, map) are the library's own.
require "tenon.train"
require "tenon.evaluate"
require "tenon.sink"
require "tenon.calibrate"
return {}
