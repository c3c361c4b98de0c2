package ocspfasthttp_test

import (
	"log"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
)

func ExampleNewServer() {
	responder := new(ocsp.Responder) // yours is made by ocsp.New
	server := ocspfasthttp.NewServer(responder)
	go func() {
		if err := server.ListenAndServe("127.0.0.1:8889"); err != nil {
			log.Print(err)
		}
	}()
	// When the program ends:
	if err := server.Shutdown(); err != nil {
		log.Print(err)
	}
	if err := responder.Close(); err != nil {
		log.Print(err)
	}
}
