/* How a guest of any kind reads its options, reports and ends. */
#include "guest.h"
#include "random.h"

uint64_t random_state = 1;

static unsigned int failures;

uint64_t option(const char *name, uint64_t absent)
{
    const char *text = command_line();
    size_t length = strlen(name);
    uint64_t value = 0, base = 10;

    while (*text && !(memcmp(text, name, length) == 0 && text[length] == '='))
        text++;
    if (!*text)
        return absent;
    text += length + 1;
    if (text[0] == '0' && text[1] == 'x') {
        base = 16;
        text += 2;
    }
    for (;; text++) {
        if (*text >= '0' && *text <= '9')
            value = value * base + (*text - '0');
        else if (base == 16 && *text >= 'a' && *text <= 'f')
            value = value * base + (*text - 'a' + 10);
        else
            return value;
    }
}

void count_failure(void)
{
    failures++;
}

void finish(void)
{
    printk("Test result: %s\n", failures ? "FAILURE" : "SUCCESS");
    shutdown(SHUTDOWN_poweroff);
}

void shutdown(unsigned int reason)
{
    struct sched_shutdown argument = { .reason = reason };

    for (;;)
        hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &argument);
}
