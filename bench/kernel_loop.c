/*
 * The clear as a kernel would do it: one entry and one descriptor at a time.
 *
 * Scans the bitmap, takes the bits that userspace names, appends an entry for each page to an array, and
 * whenever the array is full runs it: checks each entry and its descriptor and clears bit 7 (S2AP[1]).
 * No lock, no atomic operation, no TLB and a flat array instead of page tables: less than a kernel does.
 */

#include <stddef.h>
#include <stdint.h>

enum { CAPACITY = 512 };

#define ENTRY_VALID (UINT64_C(1) << 0)
#define ENTRY_TTWL (UINT64_C(7) << 1)
#define ENTRY_TTWL_PAGE (UINT64_C(3) << 1)
#define ENTRY_IPA (((UINT64_C(1) << 56) - 1) & ~UINT64_C(0xfff))

#define DESCRIPTOR_VALID (UINT64_C(1) << 0)
#define DESCRIPTOR_WRITE (UINT64_C(1) << 7)
#define DESCRIPTOR_DBM (UINT64_C(1) << 51)

/* Return how many entries were cleaned; fewer than `count` if one could not be. */
static size_t run(const uint64_t *entries, size_t count, uint64_t *descriptors)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t entry = entries[i];

        if ((entry & (ENTRY_VALID | ENTRY_TTWL)) != (ENTRY_VALID | ENTRY_TTWL_PAGE))
            return i;

        uint64_t *descriptor = &descriptors[(entry & ENTRY_IPA) >> 12];
        uint64_t wanted = DESCRIPTOR_VALID | DESCRIPTOR_DBM;

        if ((*descriptor & wanted) != wanted)
            return i;
        *descriptor &= ~DESCRIPTOR_WRITE;
    }
    return count;
}

/* Clear what `user` names of `dirty`; return how many pages were cleaned. */
uint64_t clear_dirty_log(uint64_t *dirty, const uint64_t *user, size_t words, uint64_t *descriptors)
{
    static uint64_t entries[CAPACITY];
    uint64_t cleaned = 0;
    size_t count = 0;

    for (size_t word = 0; word < words; word++) {
        uint64_t mask = user[word];

        if (!mask)
            continue;
        mask &= dirty[word];
        dirty[word] ^= mask;
        while (mask) {
            uint64_t page = word * 64 + (uint64_t)__builtin_ctzll(mask);

            mask &= mask - 1;
            entries[count++] = page << 12 | ENTRY_TTWL_PAGE | ENTRY_VALID;
            if (count == CAPACITY) {
                size_t done = run(entries, count, descriptors);

                cleaned += done;
                if (done < count)
                    return cleaned;
                count = 0;
            }
        }
    }
    return cleaned + run(entries, count, descriptors);
}
