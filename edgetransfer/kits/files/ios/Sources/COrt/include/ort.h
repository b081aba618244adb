// ONNX Runtime's C API: as its framework and Debian's package have it, or on the compiler's path.
#if __has_include(<onnxruntime/onnxruntime_c_api.h>)
#include <onnxruntime/onnxruntime_c_api.h>
#elif __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>
#else
#error "ONNX Runtime's headers were not found: README.md says where they come from"
#endif
