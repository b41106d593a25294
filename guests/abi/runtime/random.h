/* Numbers that look random and are the same for the same seed (xorshift64*). */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

extern uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15 + 1;
}

static inline uint64_t random(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1d;
}

#endif
