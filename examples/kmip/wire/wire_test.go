package wire

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// request is one of version 1.4 with two operations.
var request = encode(requestMessage, structure,
	encode(requestHeader, structure,
		encode(protocolVersion, structure,
			encodeNumber(0x42006a, integer, 1), encodeNumber(0x42006b, integer, 4)),
		encodeNumber(batchCount, integer, 2)),
	encode(batchItem, structure, encodeNumber(operation, enumeration, Activate),
		encode(uniqueBatchItemID, octets, []byte{7}),
		encode(requestPayload, structure, encode(UniqueIdentifier, text, []byte("1")))),
	encode(batchItem, structure, encodeNumber(operation, enumeration, Destroy),
		encode(requestPayload, structure, encode(UniqueIdentifier, text, []byte("2")))))

// do refuses all but the object 1.
func do(_ int, payload []byte) (string, error) {
	if uid := string(Find(payload, UniqueIdentifier)); uid != "1" {
		return "", Fail(ItemNotFound, "no object "+uid)
	}
	return "1", nil
}

func TestServe(t *testing.T) {
	client, server := net.Pipe()
	ended := make(chan error)
	go func() { ended <- Serve(server, do) }()
	for range 2 { // requests on one connection
		if _, err := client.Write(request); err != nil {
			t.Fatal(err)
		}
		response := make([]byte, 1024)
		n, err := client.Read(response)
		if err != nil {
			t.Fatal(err)
		}
		response = Find(response[:n], responseMessage)
		version := Find(response, responseHeader, protocolVersion)
		if len(version) != 32 || version[11] != 1 || version[27] != 4 {
			t.Errorf("version %x", version)
		}
		if n := Number(Find(response, responseHeader, batchCount)); n != 2 {
			t.Errorf("%d items", n)
		}
		var items [][]byte
		for tag, item := range fields(response) {
			if tag == batchItem {
				items = append(items, item)
			}
		}
		if len(items) != 2 || !bytes.Equal(Find(items[0], uniqueBatchItemID), []byte{7}) ||
			Number(Find(items[0], resultStatus)) != 0 ||
			string(Find(items[0], responsePayload, UniqueIdentifier)) != "1" ||
			Number(Find(items[1], resultStatus)) != 1 ||
			Number(Find(items[1], resultReason)) != ItemNotFound ||
			string(Find(items[1], resultMessage)) != "no object 2" {
			t.Errorf("%x", items)
		}
	}
	go func() { _, _ = client.Write([]byte("GET / HTTP/1.1\r\n")) }()
	if err := <-ended; !errors.Is(err, errRequest) {
		t.Errorf("HTTP: %v", err)
	}
}

func TestServeBounds(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		_, _ = client.Write([]byte{0x42, 0, 0x78, 1, 0x7f, 0xff, 0xff, 0xff})
		_ = client.Close()
	}()
	if err := Serve(server, do); !errors.Is(err, errRequest) {
		t.Errorf("a message of 2 GB: %v", err)
	}
}

func TestErrorsWithoutReason(t *testing.T) {
	response := answer(Find(request, requestMessage), func(int, []byte) (string, error) {
		return "", errors.New("broken")
	})
	item := Find(response, responseMessage, batchItem)
	if n := Number(Find(item, resultReason)); n != generalFailure {
		t.Errorf("reason %d", n)
	}
}

// FuzzAnswer: no request makes the server panic, and each gets an answer that can be read.
func FuzzAnswer(f *testing.F) {
	f.Add(Find(request, requestMessage))
	f.Add([]byte{0x42, 0, 0x0f, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, request []byte) {
		if Find(answer(request, do), responseMessage, responseHeader, batchCount) == nil {
			t.Error("an answer without a header")
		}
	})
}
