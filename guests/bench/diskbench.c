/*
 * Measures how fast a guest's disk is, past the guest's page cache. It is the guest's init: it loads the modules that
 * lie in /modules, in the order of their names, opens the disk, and prints "GBENCH name count seconds" for reads and
 * writes of 1 MiB in sequence (counted in bytes) and of 4 KiB at random places (counted in requests), with 1 and with
 * 32 requests under way. Then it prints "GBENCH end" and powers off. GBENCH_MS is as for gbench.c; GBENCH_ONLY names
 * those of the workloads that are to be measured, for whoever looks at one with perf: it starts at "GBENCH ready".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST 32
#define DEFAULT_MS 1000
#define LONG_REQUESTS "max_indirect_segments=256" /* 1 MiB, as virtio_blk's are; the default is 128 KiB */

static const char *const disks[] = { "/dev/xvda", "/dev/vda" };

static struct workload {
    const char *name;
    uint16_t command;
    unsigned bytes, depth;
    int random;
} workloads[] = {
    { "write_1m_1", IOCB_CMD_PWRITE, 1 << 20, 1, 0 },  { "read_1m_1", IOCB_CMD_PREAD, 1 << 20, 1, 0 },
    { "write_1m_32", IOCB_CMD_PWRITE, 1 << 20, 32, 0 }, { "read_1m_32", IOCB_CMD_PREAD, 1 << 20, 32, 0 },
    { "write_4k_1", IOCB_CMD_PWRITE, 4096, 1, 1 },     { "read_4k_1", IOCB_CMD_PREAD, 4096, 1, 1 },
    { "write_4k_32", IOCB_CMD_PWRITE, 4096, 32, 1 },    { "read_4k_32", IOCB_CMD_PREAD, 4096, 32, 1 },
};

static char *buffers[MOST];
static uint64_t disk_bytes, position, seed = 88172645463325252;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* xorshift: the same places in every run */
static uint64_t random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void submit(aio_context_t context, int disk, const struct workload *work, struct iocb *block, unsigned slot)
{
    uint64_t places = disk_bytes / work->bytes;
    uint64_t place = work->random ? random_number() % places : position++ % places;

    memset(block, 0, sizeof(*block));
    block->aio_data = slot;
    block->aio_lio_opcode = work->command;
    block->aio_fildes = disk;
    block->aio_buf = (uintptr_t)buffers[slot];
    block->aio_nbytes = work->bytes;
    block->aio_offset = place * work->bytes;
    if (syscall(SYS_io_submit, context, 1, &block) != 1)
        err(1, "io_submit");
}

/* keeps as many requests under way as the workload wants, and counts those that end in time */
static void measure(int disk, const struct workload *work, double seconds)
{
    aio_context_t context = 0;
    static struct iocb blocks[MOST];
    static struct io_event events[MOST];
    unsigned long done = 0;
    double began, elapsed;

    if (syscall(SYS_io_setup, MOST, &context))
        err(1, "io_setup");
    position = 0;
    for (unsigned slot = 0; slot < work->depth; slot++)
        submit(context, disk, work, &blocks[slot], slot);
    began = now();
    do {
        long got = syscall(SYS_io_getevents, context, 1, MOST, events, NULL);

        if (got < 1)
            err(1, "io_getevents");
        for (long i = 0; i < got; i++) {
            if (events[i].res != work->bytes)
                errx(1, "%s: a request ended with %lld", work->name, (long long)events[i].res);
            submit(context, disk, work, &blocks[events[i].data], events[i].data);
        }
        done += got;
        elapsed = now() - began;
    } while (elapsed < seconds);
    syscall(SYS_io_destroy, context); /* waits for what is under way */
    printf("GBENCH %s %lu %.6f\n", work->name, work->random ? done : done * work->bytes, elapsed);
}

static int by_name(const struct dirent **one, const struct dirent **other)
{
    return strcmp((*one)->d_name, (*other)->d_name);
}

static void load_modules(void)
{
    struct dirent **entries;
    int count = scandir("/modules", &entries, NULL, by_name);

    for (int i = 0; i < count; i++) {
        char path[300];
        int file;

        if (entries[i]->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/modules/%s", entries[i]->d_name);
        file = open(path, O_RDONLY);
        if (file < 0 || syscall(SYS_finit_module, file, strstr(path, "blkfront") ? LONG_REQUESTS : "", 0))
            warn("%s", path);
        close(file);
    }
}

static int open_disk(void)
{
    for (int tries = 0; tries < 500; tries++) {
        for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
            int disk = open(disks[i], O_RDWR | O_DIRECT);

            if (disk >= 0 && ioctl(disk, BLKGETSIZE64, &disk_bytes) == 0 && disk_bytes)
                return disk;
            close(disk);
        }
        usleep(10000);
    }
    errx(1, "there is no disk");
}

int main(void)
{
    const char *ms = getenv("GBENCH_MS"), *only = getenv("GBENCH_ONLY");
    int disk;

    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    disk = open_disk();
    for (int slot = 0; slot < MOST; slot++) {
        buffers[slot] = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (buffers[slot] == MAP_FAILED)
            err(1, "mmap");
        memset(buffers[slot], 1 + slot, 1 << 20);
    }
    puts("GBENCH ready");
    for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
        if (!only || !*only || strstr(only, workloads[i].name))
            measure(disk, &workloads[i], (ms ? atoi(ms) : DEFAULT_MS) / 1e3);
    puts("GBENCH end");
    reboot(RB_POWER_OFF);
    return 1;
}
