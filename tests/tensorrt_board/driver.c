#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int live = 0, pageable = 0;
static struct { char *start; size_t size; } locked[1024];
static int is_pageable(const char *start, size_t size) {
  for (int i = 0; i < 1024; i++)
    if (locked[i].start && start >= locked[i].start &&
        start + size <= locked[i].start + locked[i].size) return 0;
  return 1; }
int cuInit(unsigned flags) { return getenv("STUB_NO_GPU") ? 100 : 0; }
int cuGetErrorString(int code, const char **text) {
  *text = code == 100 ? "no CUDA-capable device is detected" : "out of memory"; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &live; return 0; }
int cuCtxSetCurrent(void *context) { return context == &live ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0x5; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
  *value = which == 75 ? 8 : which == 76 ? 7 : -1; return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (size > (1u << 30)) return 2;
  live++; *address = (uint64_t)malloc(size); return 0; }
int cuMemAllocHost_v2(void **address, size_t size) {
  for (int i = 0; i < 1024; i++)
    if (!locked[i].start) {
      *address = locked[i].start = malloc(size); locked[i].size = size; return 0; }
  return 2; }
int cuMemFreeHost(void *address) {
  for (int i = 0; i < 1024; i++) if (locked[i].start == address) locked[i].start = 0;
  free(address); return 0; }
int cuMemFree_v2(uint64_t address) { live--; free((void *)address); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *stream) {
  pageable += is_pageable(from, size); memcpy((void *)to, from, size); return stream == (void *)0x5 ? 0 : 400; }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *stream) {
  pageable += is_pageable(to, size); memcpy(to, (void *)from, size); return stream == (void *)0x5 ? 0 : 400; }
int cuStreamSynchronize(void *stream) { return stream == (void *)0x5 ? 0 : 400; }
