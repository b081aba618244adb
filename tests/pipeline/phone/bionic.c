/* What libraries for Android ask their libc and liblog for and glibc does not have. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

char __sF[3][152]; /* stdin, stdout, stderr */

int *__errno(void) { return &errno; }
char *__gnu_strerror_r(int error, char *text, size_t size) { return strerror_r(error, text, size); }
size_t __strlen_chk(const char *text, size_t size) { return strlen(text); }
char *__strchr_chk(const char *text, int byte, size_t size) { return strchr(text, byte); }
int __FD_ISSET_chk(int file, const fd_set *set, size_t size) { return FD_ISSET(file, set); }
void __FD_SET_chk(int file, fd_set *set, size_t size) { FD_SET(file, set); }
int __system_property_get(const char *name, char *value) { return *value = 0; }
void android_set_abort_message(const char *text) { fprintf(stderr, "%s\n", text); }

int __android_log_vprint(int level, const char *tag, const char *form, va_list values) {
    return vfprintf(stderr, form, values);
}

int __android_log_print(int level, const char *tag, const char *form, ...) {
    va_list values;
    va_start(values, form);
    int size = __android_log_vprint(level, tag, form, values);
    va_end(values);
    return size;
}

int __android_log_write(int level, const char *tag, const char *text) {
    return fprintf(stderr, "%s: %s\n", tag, text);
}

/* glibc has sysconf and fflush, but for other numbers and files: `jvm.py` renames the calls. */
long sysconX(int name) {
    switch (name) {
    case 0x27: case 0x28: return sysconf(_SC_PAGESIZE);
    case 0x60: return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61: return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62: return sysconf(_SC_PHYS_PAGES);
    case 0x63: return sysconf(_SC_AVPHYS_PAGES);
    }
    fprintf(stderr, "bionic.c does not know sysconf %#x\n", name);
    return -1;
}

int fflusX(FILE *file) {
    char *place = (char *)file;
    return fflush(__sF[0] <= place && place < __sF[3] ? NULL : file); /* NULL: all */
}
