/*
 * The shared cache of signed answers, and the memory of them in a process: internal/signed. One
 * process answers REQUESTS requests, two at a time, while the status is held and released. Others
 * sign answers too. Get returns any answer that was ever signed, by whomever, or none: so a Put may
 * be late or lost, a Delete may fail, and somebody may put back what was there. A value that nobody
 * signed is refused by its signature, and is not modelled.
 *
 * The claims, for an answer that is sent:
 *
 *	(g) it has the status that a read of this process returned, which the request waited for,
 *	(h) the store had that status at some time not before its thisUpdate,
 *	(i) before the request arrived, this process sent no answer with another status and a later
 *	    thisUpdate that is still alive,
 *	(j) it is alive.
 *
 * The bounds: ticks 1 to END of the clock, WRITES changes of the status, ENCODINGS of the CertID.
 * Evictions are not modelled: what was evicted guards nothing, which (i) would show.
 */
#define NONE 0
#define GOOD 1
#define HELD 2

#define VALID(this)   (this != 0 && now < this + VALIDITY) /* signed.Life.Alive */
#define REFRESH(this) (this + VALIDITY / 2)                /* refreshPoint */
#define OTHER(s)      (3 - s)

byte now = 1;
byte store = GOOD;
byte writes = WRITES;
byte requests = REQUESTS;

/* since[s] is the last tick in which the store had the status s. */
byte lastHad[3];

byte ever[3];  /* the set of the times of the answers with a status that were ever signed */
byte known[6]; /* signed.Memory: thisUpdate, by status and encoding, 0: there is none */
byte tomb[3];  /* thisUpdate of the tombstone, by status */
byte sent[3];  /* for (i): the latest thisUpdate that was sent, by status */

#define AT(s, e) known[(e) * 3 + (s)]


hidden byte e1;

/* The clock. What the store has at the tick is what it had in it. */
proctype Clock() {
end:
	do
	:: atomic { now < END -> now++; lastHad[store] = now }
	od
}

/* The host holds and releases the certificate. */
proctype Writer() {
end:
	do
	:: atomic { writes > 0 -> writes--; store = OTHER(store); lastHad[store] = now }
	od
}

/* Another process: it reads, signs and puts its answer into the cache. */
proctype Replica() {
	byte at, status;
end:
	do
	:: at = now;
		status = store;
		atomic { ever[status] = ever[status] | (1 << at); at = 0; status = NONE }
	od
}

/* signed.Memory.Add. It sets refused. */
inline Add(s, e, this) {
	refused = false;
	e1 = 0;
	do
	:: e1 < ENCODINGS ->
#ifndef STEPS_BACK
		refused = refused || VALID(AT(OTHER(s), e1)) && AT(OTHER(s), e1) > this;
#endif
		e1++
	:: else -> break
	od;
#ifndef STEPS_BACK
	refused = refused || VALID(tomb[OTHER(s)]) && tomb[OTHER(s)] > this;
#endif
#ifndef RENEWED_BY_EARLIER
	refused = refused || VALID(AT(s, e)) && AT(s, e) > this;
#endif
	if
	:: !refused -> /* signed.supersede, signed.Memory.put */
		AT(s, e) = this;
		e1 = 0;
		do
		:: e1 < ENCODINGS ->
			if
			:: AT(OTHER(s), e1) != 0 && AT(OTHER(s), e1) < this ->
#ifndef NO_TOMBSTONE
				tomb[OTHER(s)] = (AT(OTHER(s), e1) > tomb[OTHER(s)] -> AT(OTHER(s), e1) : tomb[OTHER(s)]);
#endif
				AT(OTHER(s), e1) = 0
			:: else
			fi;
			e1++
		:: else -> break
		od
	:: else
	fi
}

/* exchange.attempt */
inline send(s, this) {
	assert(s == status);                                    /* (g) */
	assert(this <= lastHad[s]);                             /* (h) */
	assert(!VALID(before[OTHER(s)]) || before[OTHER(s)] <= this); /* (i) */
	assert(VALID(this));                                    /* (j) */
	sent[s] = (this > sent[s] -> this : sent[s])
}

/* What remote.check refuses, besides what nobody signed. */
#define RECENT (now < REFRESH(found))
#ifdef OTHER_STATUS_IS_FETCHED
#define SAME true
#else
#define SAME (s == status)
#endif

/* A request: exchange.attempt. */
proctype Request() {
	byte at;        /* Look.At: when its read began */
	byte status;    /* what the read returned */
	byte e;         /* the encoding of its CertID */
	byte found;     /* thisUpdate of an answer */
	byte s;         /* the status of that answer */
	byte before[3]; /* sent, when the request arrived */
	bool refused;

end:
	atomic {
		requests > 0 ->
		requests--;
		before[GOOD] = sent[GOOD];
		before[HELD] = sent[HELD];
		at = now; /* statuses.Memory.Begin */
		if
		:: e = 0
		:: ENCODINGS > 1 -> e = 1
		fi
	};
	status = store; /* source.find */

	atomic { /* signed.Memory.Find, called by signatures.find */
		s = status;
		found = AT(s, e);
#ifdef FOUND_WHATEVER_ATTESTS
		if
		:: found == 0 -> s = OTHER(s); found = AT(s, e)
		:: else
		fi;
#endif
		if
		:: found != 0 && now < REFRESH(found) -> goto ready /* isFresh */
		:: else
		fi
	};

	atomic { /* remote.fetch and remote.check, called by signatures.make; then signed.Memory.Add */
		if
		:: skip -> found = 0 /* ErrCacheMiss */
		:: select(found : 1 .. END); s = GOOD
		:: select(found : 1 .. END); s = HELD
		fi;
		if
		:: found != 0 && (ever[s] & (1 << found)) && RECENT && SAME -> Add(s, e, found);
			if
			:: !refused -> goto ready
			:: else
			fi
		:: else
		fi
	};

	s = status;
	found = at; /* Config.singleLife */
#ifdef THIS_UPDATE_OF_NOW
	found = now;
#endif
	atomic { /* signatures.sign, signed.Memory.Add, remote.store */
		ever[s] = ever[s] | (1 << found);
		Add(s, e, found);
		if
		:: refused -> goto over /* errOvertaken: the request begins again */
		:: else
		fi
	};

ready:
	atomic {
		if
		:: VALID(found) -> send(s, found) /* signed.Life.Alive */
		:: else
		fi
	};

over:
	atomic {
		at = 0; status = NONE; e = 0; found = 0; s = 0; before[GOOD] = 0; before[HELD] = 0;
		refused = false;
		goto end
	}
}

init {
	atomic {
		lastHad[GOOD] = now;
		run Clock();
		run Writer();
		run Replica();
		run Request();
		run Request()
	}
}
