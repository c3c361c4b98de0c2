// Package wire is as much of KMIP's encoding, TTLV, as the example needs.
package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"net"
	"slices"
	"time"
)

// The operations, by their code.
const (
	Register = 3
	Activate = 18
	Revoke   = 19
	Destroy  = 20
)

// The tags of fields of requests.
const (
	Certificate          = 0x420013
	CertificateValue     = 0x42001e
	RevocationReason     = 0x420081
	RevocationReasonCode = 0x420082
	UniqueIdentifier     = 0x420094
)

// The other tags, and the types.
const (
	batchCount, batchItem, operation               = 0x42000d, 0x42000f, 0x42005c
	protocolVersion, requestHeader, requestMessage = 0x420069, 0x420077, 0x420078
	requestPayload, responseHeader                 = 0x420079, 0x42007a
	responseMessage, responsePayload               = 0x42007b, 0x42007c
	resultMessage, resultReason, resultStatus      = 0x42007d, 0x42007e, 0x42007f
	timeStamp, uniqueBatchItemID                   = 0x420092, 0x420093

	structure, integer, enumeration, text, octets, date = 1, 2, 5, 7, 8, 9
)

const (
	maxMessage = 1 << 20
	idle       = 5 * time.Minute
)

var errRequest = errors.New("not a KMIP request, or too long a one")

// Failure is an error with its Result Reason.
type Failure struct {
	Reason uint32
	error
}

// Fail returns a Failure.
func Fail(reason uint32, message string) error { return Failure{reason, errors.New(message)} }

// The values of Result Reason that the example has.
const (
	ItemNotFound          = 1
	OperationNotSupported = 5
	InvalidField          = 7
	PermissionDenied      = 12
	generalFailure        = 256
)

// Serve answers the requests of a connection until it ends. For each operation it calls do, which
// returns the Unique Identifier of the object.
func Serve(conn net.Conn, do func(operation int, payload []byte) (uid string, err error)) error {
	defer func() { _ = conn.Close() }()
	for {
		if err := conn.SetDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		head := make([]byte, 8)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		tag, length := binary.BigEndian.Uint32(head)>>8, binary.BigEndian.Uint32(head[4:])
		if tag != requestMessage || length > maxMessage {
			return errRequest
		}
		request := make([]byte, length)
		if _, err := io.ReadFull(conn, request); err != nil {
			return err
		}
		if _, err := conn.Write(answer(request, do)); err != nil {
			return err
		}
	}
}

func answer(request []byte, do func(int, []byte) (string, error)) []byte {
	var items []byte
	var count uint32
	for tag, item := range fields(request) {
		if tag != batchItem {
			continue
		}
		count++
		code := Number(Find(item, operation))
		parts := [][]byte{encodeNumber(operation, enumeration, code)}
		if id := Find(item, uniqueBatchItemID); id != nil {
			parts = append(parts, encode(uniqueBatchItemID, octets, id))
		}
		uid, err := do(int(code), Find(item, requestPayload))
		if err == nil {
			parts = append(parts, encodeNumber(resultStatus, enumeration, 0), encode(responsePayload,
				structure, encode(UniqueIdentifier, text, []byte(uid))))
		} else {
			failure := Failure{Reason: generalFailure}
			_ = errors.As(err, &failure)
			parts = append(parts, encodeNumber(resultStatus, enumeration, 1),
				encodeNumber(resultReason, enumeration, failure.Reason),
				encode(resultMessage, text, []byte(err.Error())))
		}
		items = append(items, encode(batchItem, structure, parts...)...)
	}
	header := encode(responseHeader, structure,
		encode(protocolVersion, structure, Find(request, requestHeader, protocolVersion)),
		encode(timeStamp, date, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))),
		encodeNumber(batchCount, integer, count))
	return encode(responseMessage, structure, header, items)
}

// encode returns a field whose value is made of parts.
func encode(tag uint32, kind byte, parts ...[]byte) []byte {
	value := slices.Concat(parts...)
	b := binary.BigEndian.AppendUint32(nil, tag<<8|uint32(kind))
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
	return append(b, make([]byte, -len(value)&7)...)
}

func encodeNumber(tag uint32, kind byte, n uint32) []byte {
	return encode(tag, kind, binary.BigEndian.AppendUint32(nil, n))
}

// fields yields the tags and values of a structure, as far as it is well formed.
func fields(b []byte) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for len(b) >= 8 {
			tag, length := binary.BigEndian.Uint32(b)>>8, uint64(binary.BigEndian.Uint32(b[4:]))
			padded := (length + 7) &^ 7
			if padded > uint64(len(b)-8) || !yield(tag, b[8:8+length]) {
				return
			}
			b = b[8+padded:]
		}
	}
}

// Find returns the value at the end of a path of tags, or nil.
func Find(value []byte, path ...uint32) []byte {
	for _, want := range path {
		var found []byte
		for tag, inner := range fields(value) {
			if tag == want {
				found = inner
				break
			}
		}
		value = found
	}
	return value
}

// Number returns the value of an integer or an enumeration, and 0 for any other.
func Number(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}
