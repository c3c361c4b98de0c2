/*
 * internal/statuses, for one certificate: its entry, its reads in flight, and the fence of its
 * stripe. process.pml and feed.pml include this file.
 *
 * Each inline stands for the function that is named in the comment before it. "atomic { ... }" is
 * one step: a lock section of the code, or a load or store that needs no lock. Where others can see
 * the middle of a lock section, it has two steps, and the stripe is locked between them.
 *
 * #ifdef marks the mutations, which take out one rule each. main.go lists them.
 */

/* Statuses. */
#define NONE     0 /* there is no entry, or no result */
#define GOOD     1
#define HELD     2
#define REVOKED  3
#define UNISSUED 4 /* what is answered about a serial that the store does not know */

#define NIL 255 /* no read */

/* The host's store has the status history[version]. */
byte version;
byte history[4]; /* NONE for those to come */

/* HAD: the store has had the status s at some time since its version v. */
#define HAD1(s, v, n) ((v) <= n && history[n] == (s))
#define HAD(s, v)     (HAD1(s, v, 0) || HAD1(s, v, 1) || HAD1(s, v, 2) || HAD1(s, v, 3))

/* FIRST is the first version of those. */
#define FIRST(s, v) (HAD1(s, v, 0) -> 0 : (HAD1(s, v, 1) -> 1 : (HAD1(s, v, 2) -> 2 : 3)))

/* What the last read to end returned, if nothing was forgotten since. It is for the claims alone,
 * and NONE while there is no entry. */
byte last;

bool locked;     /* stripe.mu, in the middle of a lock section that has two steps */
byte generation; /* stripe.generation */

byte entry;      /* entry.status */
#ifdef LEASED
byte entryAt;    /* entry.at, by the clock of feed.pml */
byte entryLease; /* entry.lease */
byte leaseUntil; /* lease.until; 0 is nil */
byte leaseGen;   /* lease.generation */
#endif

typedef Read {
	byte holds;      /* Read.holds; a slot without holders is free */
	bool flying;     /* the read is in stripe.reads */
	byte generation; /* Read.generation */
#ifdef LEASED
	byte lease;      /* Read.lease */
	byte at;         /* Read.at */
#endif
	bool shared;     /* Read.shared */
	byte other;      /* Read.other; NONE if Read.event is false */
	bool spoiled;    /* Read.spoiled */
	bool passed;     /* Read.passed */
	byte done;       /* Read.done: empty before the end, then SIGNAL or CLOSED, TAKEN at last */
	byte status;     /* what the store returned; NONE as long as it did not */
	bool failed;     /* Read.err is not nil */

	/* These are for the claims alone. */
	bool forgotten;  /* the certificate was forgotten while the read was in flight */
	byte returned;   /* the set of statuses that other reads returned meanwhile */
};
Read reads[READS];

#define SIGNAL 1
#define CLOSED 2
#define TAKEN  3

/* Variables of loops, which are no part of the state. */
hidden byte i, current, slot, waited, bound;

/* statuses.Memory.remove. The stripe is locked, as for all that have no atomic of their own. */
inline remove() {
	entry = NONE;
#ifdef LEASED
	entryAt = 0;
	entryLease = 0
#endif
}

/* statuses.Memory.forget */
inline forget() {
#ifndef FORGET_LEAVES_ENTRY
	remove();
#endif
	last = NONE;
	for (i : 0 .. READS - 1) {
		if
		:: reads[i].flying ->
#ifndef FORGET_IS_NO_EVENT
			reads[i].spoiled = true;
#endif
			reads[i].forgotten = true
		:: else
		fi
	}
}

/* statuses.stripe.spoil, after a read that has ended. */
inline spoil(ended) {
	for (i : 0 .. READS - 1) {
		if
		:: reads[i].flying ->
			reads[i].returned = reads[i].returned | (1 << reads[ended].status);
#ifdef SAME_STATUS_SPOILS
			reads[i].spoiled = true;
#endif
#ifndef LAST_EVENT_ONLY
			reads[i].spoiled = reads[i].spoiled ||
				reads[i].other != NONE && reads[i].other != reads[ended].status;
#endif
#ifndef END_IS_NO_EVENT
			reads[i].other = reads[ended].status
#endif
		:: else
		fi
	}
}

/* statuses.Memory.record */
inline record(r) {
#ifdef LEASED
	bound = (entry == reads[r].status -> entryLease : 0);
#ifndef RECORD_LOWER_LEASE
	if
	:: entry == reads[r].status && (reads[r].lease < entryLease || reads[r].at < entryAt)
	:: else ->
#endif
		entryAt = reads[r].at;
		entryLease = reads[r].lease;
#ifdef LEASE_OF_THE_END
		entryLease = leaseGen;
#endif
#ifndef RECORD_LOWER_LEASE
	fi;
#endif
	assert(entryLease >= bound); /* progress: a status that is confirmed loses no lease */
#endif
	entry = reads[r].status
}

/* statuses.Read.Release. A slot that is free looks the same whatever it was used for. */
inline Release(r) {
	reads[r].holds--;
	if
	:: reads[r].holds == 0 ->
		reads[r].generation = 0;
#ifdef LEASED
		reads[r].lease = 0;
		reads[r].at = 0;
#endif
		reads[r].shared = false;
		reads[r].other = NONE;
		reads[r].spoiled = false;
		reads[r].passed = false;
		reads[r].done = 0;
		reads[r].status = NONE;
		reads[r].failed = false;
		reads[r].forgotten = false;
		reads[r].returned = 0
	:: else
	fi
}

/* Whether a read that has ended had to be recorded: nothing was forgotten, and no other status was
 * returned meanwhile. PATIENT models have no reads that overlap. */
#ifdef PATIENT
#define RECORDABLE(r) (!reads[r].forgotten)
#else
#define RECORDABLE(r) (!reads[r].forgotten && (reads[r].returned & ~(1 << reads[r].status)) == 0)
#endif

#define SPOILED(r) (reads[r].spoiled || reads[r].other != NONE && reads[r].other != reads[r].status)

/* statuses.Read.end, for a read that has returned a status */
inline finish(r) {
#ifndef ENDED_STAYS_IN_FLIGHT
	reads[r].flying = false; /* statuses.stripe.unlink */
#endif
	if
#ifndef UNISSUED_IS_RECORDED
	:: reads[r].status == UNISSUED -> forget()
#endif
#ifndef SPOILED_IS_RECORDED
	:: SPOILED(r) && !(reads[r].status == UNISSUED) ->
#ifndef SPOILED_LEAVES_ENTRY
		if
		:: entry != reads[r].status -> remove()
		:: else
		fi;
#endif
		assert(!RECORDABLE(r)); /* progress */
		last = (entry == NONE -> NONE : reads[r].status);
		spoil(r)
#endif
	:: else ->
		record(r);
		last = reads[r].status;
		spoil(r)
	fi;
	reads[r].done = (reads[r].shared -> CLOSED : SIGNAL)
}

/* statuses.Read.end, for a read that failed. Nothing was learnt. */
inline fail(r) {
	reads[r].flying = false;
	reads[r].failed = true;
	reads[r].done = (reads[r].shared -> CLOSED : SIGNAL)
}

/* Whether there is a free slot. */
#define FREE(r) (reads[r].holds == 0)
#if READS == 4
#define ROOM (FREE(0) || FREE(1) || FREE(2) || FREE(3))
#elif READS == 3
#define ROOM (FREE(0) || FREE(1) || FREE(2))
#elif READS == 2
#define ROOM (FREE(0) || FREE(1))
#else
#define ROOM FREE(0)
#endif

/* statuses.stripe.current */
inline findCurrent() {
	current = NIL;
	for (i : 0 .. READS - 1) {
		if
		:: reads[i].flying && !reads[i].passed -> current = i
		:: else
		fi
	}
}

/* statuses.Read.begin */
inline start() {
	slot = 0;
	do
	:: reads[slot].holds > 0 -> slot++
	:: else -> break
	od;
	reads[slot].holds = 2; /* the request, and the one who runs it */
	reads[slot].flying = true;
	reads[slot].generation = generation;
#ifdef LEASED
	reads[slot].lease = leaseGen;
	reads[slot].at = TIMED(at);
#endif
	mine = slot
}

/* The host or another program writes to the store. */
inline write() {
	if
	:: history[version] != GOOD -> history[version + 1] = GOOD
	:: history[version] != HELD -> history[version + 1] = HELD
	:: version > 0 && history[version] != REVOKED -> history[version + 1] = REVOKED
	:: UNISSUED_TOO && history[version] != UNISSUED -> history[version + 1] = UNISSUED
	fi;
	version++
}

/* Whether a read is being run. */
#define RUNS(r) (reads[r].flying && !reads[r].done)
