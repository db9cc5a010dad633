// Copyright: (c) 2026, herd.llama_cpp contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Preloaded, gives a process a date of its own: the machine's, and as many seconds on as /run/own-clock says at that moment.
// As where somebody sets a clock, time that only goes on (CLOCK_MONOTONIC) is as it was. libfaketime does the same and more, but its
// clock_nanosleep fails with EINVAL for Python's sleep.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void)
{
    char text[32];
    ssize_t length = -1;
    int file = open("/run/own-clock", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        length = read(file, text, sizeof text - 1);
        close(file);
    }
    if (length <= 0)
        return 0;
    text[length] = 0;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed && now)
        now->tv_sec += offset();
    return failed;
}

time_t time(time_t *now)
{
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
