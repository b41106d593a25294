/*
 * What programs do between their system calls: arithmetic, and memory near and far. Runs as the init of a guest, which
 * it then ends, and as a program of the host: "GBENCH name count seconds" for each measurement.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/reboot.h>

#define TABLE_BYTES (64u << 20)
#define LINE_BYTES 64u
#define BATCH 20000000ul
#define CHASES 200000ul
#define SWEEPS 4ul
#define DEFAULT_MS 1000

static uint64_t state = 88172645463325252ull;
static uint32_t *table; /* in each line, the number of another: one ring of them all */

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void integer(unsigned long count)
{
    uint64_t sum = 0;

    while (count--)
        sum += next_random() % 1000003;
    state ^= sum & 1;
}

static void prepare_memory(void)
{
    uint32_t lines = TABLE_BYTES / LINE_BYTES, step = LINE_BYTES / sizeof(*table);

    table = malloc(TABLE_BYTES);
    if (!table)
        exit(1);
    for (uint32_t line = 0; line < lines; line++)
        table[line * step] = line;
    for (uint32_t line = lines - 1; line; line--) {
        uint32_t other = next_random() % line, kept = table[line * step];

        table[line * step] = table[other * step];
        table[other * step] = kept;
    }
}

static void memory_latency(unsigned long count)
{
    uint32_t line = 0, step = LINE_BYTES / sizeof(*table);

    while (count--)
        line = table[line * step];
    state ^= line & 1;
}

static void memory_sweep(unsigned long count)
{
    while (count--)
        for (uint32_t index = 1; index < TABLE_BYTES / sizeof(*table); index += 2)
            table[index] += index;
}

static const struct operation {
    const char *name;
    unsigned long batch; /* done between two looks at the clock */
    void (*run)(unsigned long count);
} operations[] = {
    { "integer", BATCH, integer },
    { "memory_latency", CHASES, memory_latency },
    { "memory_sweep", SWEEPS, memory_sweep },
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

int main(void)
{
    const char *ms = getenv("GBENCH_MS");
    double seconds = (ms ? atoi(ms) : DEFAULT_MS) / 1e3;

    setvbuf(stdout, NULL, _IOLBF, 0);
    prepare_memory();
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        unsigned long count = 0;
        double began = now(), elapsed;

        do {
            operations[i].run(operations[i].batch);
            count += operations[i].batch;
            elapsed = now() - began;
        } while (elapsed < seconds);
        printf("GBENCH %s %lu %.6f\n", operations[i].name, count, elapsed);
    }
    puts("GBENCH end");
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return 0;
}
