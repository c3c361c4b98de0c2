/*
 * One process. Requests about one certificate look, begin or join a read of the store or wait
 * behind an earlier one, and send what they learnt. Meanwhile the host writes to its store and
 * calls Invalidate, another program writes and calls nothing, a neighbour on the stripe is
 * invalidated, entries are evicted, StatusTTL passes, reads outlast the patience, fail, or return a
 * record that cannot be used, and the store is silent.
 *
 * The bounds: REQUESTERS requests at a time, REQUESTS in total, TRIES attempts each, READS reads
 * that are in flight or waited for, WRITES changes of the status, NEIGHBOURS fences of a neighbour.
 */
#include "statuses.pml"

byte requests = REQUESTS;
byte busy; /* the set of requesters that have a request; the first that has none takes the next */
byte neighbours = NEIGHBOURS;

/* For the claims: the versions of the store that are the bounds (a) and (b). */
byte invalidated; /* when the last Invalidate that has returned removed the entry */
byte told;        /* the earliest that fits all that was answered */

/* statuses.Look.load. StatusTTL may have passed by now, whenever that is. */
inline load(status, trusted) {
	assert(entry == last); /* an entry is what this process last knew for certain */
	assert(entry != UNISSUED); /* a serial that the store does not know leaves no entry */
	status = entry;
	if
	:: trusted = false
	:: TTL && entry != NONE -> trusted = true
	fi
}

/* statuses.Memory.Look: the generation, without the lock, and then the entry. If the stripe has no
 * entry, that takes no lock either. */
inline Look() {
#ifndef ENTRY_BEFORE_GENERATION
	look = generation;
#endif
	if
	:: atomic { entry == NONE -> load(status, trusted) }
	:: atomic { entry != NONE && !locked -> load(status, trusted) }
	fi;
#ifdef ENTRY_BEFORE_GENERATION
	look = generation
#endif
}

/* statuses.How */
mtype = { own, joined, behind, renewed };

/* Whether no fence came since a read began. */
#define UNFENCED(r) (reads[r].generation == generation)

/* statuses.Memory.Begin. A request that waited behind a read releases it after this call; here it
 * does so in the same step, which nobody can tell. */
inline Begin() {
	atomic {
		!locked && (ROOM || mine != NIL && reads[mine].holds == 1) ->
		load(status, trusted);
		findCurrent();
		if
		:: trusted ->
			look = generation;
			how = renewed
		:: else ->
			if
#ifdef JOIN_FENCED
			:: current != NIL ->
#else
			:: current != NIL && UNFENCED(current) ->
#endif
#ifdef JOIN_EARLIER
				how = joined;
#else
				how = (mine == NIL || mine == current -> behind : joined);
#endif
				assert(how == behind || UNFENCED(current)); /* no request joins a fenced read */
				reads[current].shared = true;
				reads[current].holds++
			:: current != NIL && (OUTLASTS || !UNFENCED(current)) ->
#ifndef NOT_PASSED
				reads[current].passed = true;
#endif
				how = own
			:: current == NIL ->
				how = own
			fi
		fi;
		waited = mine;
		mine = NIL;
		if
		:: waited != NIL -> Release(waited)
		:: else
		fi;
		waited = NIL;
		if
		:: how == own -> start()
		:: how == joined || how == behind -> mine = current
		:: how == renewed
		fi
	}
}

/* exchange.attempt: what is sent is an answer from now on, for the claims. */
inline send() {
	assert(HAD(status, invalidated));                /* (a) and (c) */
	assert(HAD(status, toldBefore));                 /* (b) */
	assert(HAD(status, arrived) || !ofRead);         /* (d) */
	assert(HAD(status, arrived) || standsIn || TTL); /* (d) is for all if StatusTTL is 0 */
	bound = (invalidated > toldBefore -> invalidated : toldBefore);
	bound = (ofRead && arrived > bound -> arrived : bound);
	bound = FIRST(status, bound);
	told = (status != UNISSUED && bound > told -> bound : told)
}

/* A request: exchange.answerOne and exchange.attempt. */
proctype Request(byte me) {
	byte arrived;    /* the version of the store when the request arrived */
	byte toldBefore; /* told at that time */
	byte look;       /* Look.generation */
	byte status;     /* Look.Status */
	bool trusted;    /* Look.Trusted */
	bool ofRead;     /* the look is the result of a read */
	bool standsIn;
	byte mine = NIL; /* the read that the request holds */
	mtype how;       /* what Begin returned */
	byte tries;

end:
	atomic {
		requests > 0 && (busy & ((1 << me) - 1)) == (1 << me) - 1 && !(busy & (1 << me)) ->
		requests--;
		busy = busy | (1 << me);
		arrived = version;
		toldBefore = told;
		tries = TRIES
	};

attempt:
	Look();
	if
	:: trusted -> goto stands
	:: else
	fi;

read:
	Begin();
	if
	:: how == renewed -> goto stands
	:: else
	fi;

	if
	:: atomic { /* waiter.waitFor and waiter.wait: the read has ended */
		reads[mine].done == SIGNAL || reads[mine].done == CLOSED ->
		reads[mine].done = (reads[mine].done == CLOSED -> CLOSED : TAKEN);
		if
		:: how == behind -> goto read
		:: how != behind && reads[mine].failed ->
			Release(mine);
			mine = NIL;
			goto silent
		:: else
		fi;
		/* statuses.Read.Result */
		status = reads[mine].status;
		look = reads[mine].generation;
#ifdef RESULT_OF_PRESENT_GENERATION
		look = generation;
#endif
#ifdef ENTRY_ANSWERS
		status = entry;
#endif
		ofRead = true;
		Release(mine);
		mine = NIL;
		if
		:: status == NONE -> goto again
		:: else
		fi
	   }
	:: atomic { /* waiter.waitFor: the request waits no longer, or the store is silent */
		how == behind && OUTLASTS && !locked ->
#ifndef NOT_PASSED
		reads[mine].passed = reads[mine].flying; /* statuses.Read.Pass */
#endif
		goto read
	   }
	:: atomic { /* waiter.wait: ErrStoreSilent */
		SILENCE ->
		Release(mine);
		mine = NIL;
		goto silent
	   }
	fi;

stands:
	atomic {
		if
#ifdef SENT_WITHOUT_CHECK
		:: true ->
#else
		:: look == generation -> /* statuses.Look.Stands */
#endif
			send();
			goto over
#ifndef SENT_WITHOUT_CHECK
		:: else
#endif
		fi
	};

again:
	atomic {
		assert(look != generation); /* progress: only a fence makes a request start over */
		ofRead = false;
		tries--;
		if
		:: tries > 0 -> goto attempt
		:: else -> goto over
		fi
	};

silent:
	Look(); /* exchange.findStandIn */
	atomic { /* exchange.standIn */
		if
#ifdef STANDS_IN_WITHOUT_CHECK
		:: status != NONE -> standsIn = true; send()
#else
		:: status != NONE && look == generation -> standsIn = true; send()
#endif
		:: else
		fi
	};

over:
	atomic {
		look = 0; status = NONE; trusted = false; ofRead = false; standsIn = false; how = 0;
		arrived = 0; toldBefore = 0; tries = 0;
		busy = busy & ~(1 << me);
		goto end
	}
}

/* The host revokes, holds or releases, and then calls Invalidate. */
proctype Revoker() {
	byte removed; /* the version of the store when Invalidate removed the entry */
end:
	do
	:: atomic { INVALIDATES && version < WRITES -> write() };
#ifdef FENCE_BEFORE_FORGET
		generation++;
		atomic { !locked -> removed = version; forget(); invalidated = removed; removed = 0 }
#else
		/* statuses.Memory.Invalidate is one lock section, but looks and Stands see its middle. */
		atomic { !locked -> locked = true; removed = version; forget() };
		atomic {
#ifndef NO_FENCE
			generation++;
#endif
			locked = false;
			invalidated = removed;
			removed = 0
		}
#endif
	od
}

/* What else happens, at any time. */
proctype Others() {
end:
	do
	:: atomic { SILENT_WRITES && version < WRITES -> write() } /* without Invalidate */
	:: atomic { /* statuses.Memory.evict */
		EVICTIONS && entry != NONE && !locked ->
		remove();
		last = NONE;
#ifdef EVICTION_IS_AN_EVENT
		for (i : 0 .. READS - 1) {
			reads[i].spoiled = reads[i].flying
		}
#endif
	   }
	:: atomic { /* statuses.Memory.Invalidate, of a neighbour */
		neighbours > 0 && !locked -> neighbours--; generation++
	   }
	od
}

/* A read, in a goroutine of its own: storeRead.ask. */
proctype StoreRead(byte r) {
end:
	do
	:: atomic { /* source.find: the store returns what it has now */
		RUNS(r) && reads[r].status == NONE -> reads[r].status = history[version]
	   }
	:: atomic { /* statuses.Read.End */
		RUNS(r) && reads[r].status != NONE && !locked -> finish(r); Release(r)
	   }
	:: atomic { /* statuses.Read.End, with an error */
		FAILURES && RUNS(r) && reads[r].status == NONE && !locked -> fail(r); Release(r)
	   }
	:: atomic { /* statuses.Read.Contradicted */
		CONTRADICTIONS && RUNS(r) && reads[r].status == NONE && !locked ->
		fail(r);
#ifdef CONTRADICTED_FORGETS_NOTHING
		last = NONE;
#else
		forget();
#endif
		Release(r)
	   }
	od
}

init {
	atomic {
		history[0] = GOOD;
		for (i : 0 .. READS - 1) {
			run StoreRead(i)
		}
		for (i : 0 .. REQUESTERS - 1) {
			run Request(i)
		}
		run Revoker();
		run Others()
	}
}
