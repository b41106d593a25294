/*
 * Measures how fast a guest's kernel and memory are. It is the guest's init: it counts how often each operation
 * can be done in a while, prints "GBENCH name count seconds" for each, then "GBENCH end", and powers off.
 * GBENCH_MS in the environment (the kernel hands its unknown parameters over) is that while in milliseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define FAULTS 256
#define COPY_BYTES (8 << 20)
#define DEFAULT_MS 1000

static const char nothing[] = "nothing"; /* as argv[0]: the program that fork_exec starts */

static char *copy_from, *copy_to;
static int ping[2], pong[2];

static void getppid_calls(unsigned long count)
{
    while (count--)
        syscall(SYS_getppid); /* not the library's, which might remember */
}

/* count is a multiple of FAULTS; the cost of mapping and unmapping is shared by so many */
static void page_faults(unsigned long count)
{
    for (; count; count -= FAULTS) {
        char *area = mmap(NULL, FAULTS * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (area == MAP_FAILED)
            err(1, "mmap");
        madvise(area, FAULTS * PAGE_BYTES, MADV_NOHUGEPAGE);
        for (size_t page = 0; page < FAULTS; page++)
            ((volatile char *)area)[page * PAGE_BYTES] = 1;
        munmap(area, FAULTS * PAGE_BYTES);
    }
}

static void memcpy_start(void)
{
    copy_from = malloc(COPY_BYTES);
    copy_to = malloc(COPY_BYTES);
    if (!copy_from || !copy_to)
        err(1, "malloc");
    memset(copy_from, 1, COPY_BYTES);
    memset(copy_to, 2, COPY_BYTES);
}

/* counted in bytes, a multiple of COPY_BYTES */
static void memcpy_bytes(unsigned long count)
{
    for (; count; count -= COPY_BYTES) {
        memcpy(copy_to, copy_from, COPY_BYTES);
        __asm__ volatile("" : : "r"(copy_to) : "memory"); /* somebody might read it */
    }
}

static void fork_execs(unsigned long count)
{
    while (count--) {
        int status;
        pid_t child = fork();

        if (child < 0)
            err(1, "fork");
        if (child == 0) {
            execl("/init", nothing, NULL);
            _exit(127);
        }
        if (waitpid(child, &status, 0) != child || status != 0)
            errx(1, "the program that was started has failed");
    }
}

static void pipe_start(void)
{
    char byte;

    if (pipe(ping) || pipe(pong))
        err(1, "pipe");
    if (fork() == 0) {
        close(ping[1]);
        while (read(ping[0], &byte, 1) == 1 && write(pong[1], &byte, 1) == 1)
            ;
        _exit(0);
    }
}

/* count is even: there and back are two switches */
static void pipe_switches(unsigned long count)
{
    char byte = 0;

    for (; count; count -= 2)
        if (write(ping[1], &byte, 1) != 1 || read(pong[0], &byte, 1) != 1)
            err(1, "pipe");
}

static const struct operation {
    const char *name;
    unsigned long batch; /* done between two looks at the clock */
    void (*run)(unsigned long count);
    void (*start)(void);
} operations[] = {
    { "getppid", 1000, getppid_calls, NULL },
    { "pagefault", FAULTS, page_faults, NULL },
    { "memcpy", COPY_BYTES, memcpy_bytes, memcpy_start },
    { "fork_exec", 1, fork_execs, NULL },
    { "pipe_switch", 100, pipe_switches, pipe_start },
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void measure(const struct operation *operation, double seconds)
{
    unsigned long count = 0;
    double began, elapsed;

    if (operation->start)
        operation->start();
    operation->run(operation->batch); /* the first time is slower */
    began = now();
    do {
        operation->run(operation->batch);
        count += operation->batch;
        elapsed = now() - began;
    } while (elapsed < seconds);
    printf("GBENCH %s %lu %.6f\n", operation->name, count, elapsed);
}

int main(int argc, char **argv)
{
    const char *ms = getenv("GBENCH_MS");

    if (argc > 0 && strcmp(argv[0], nothing) == 0)
        return 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        measure(&operations[i], (ms ? atoi(ms) : DEFAULT_MS) / 1e3);
    puts("GBENCH end");
    reboot(RB_POWER_OFF);
    return 1;
}
