package websocket_test

import (
	"encoding/binary"
	"fmt"
	"log"

	"rfc6455.example/websocket"
)

// The key and the answer to it are those of section 1.3.
func ExampleAcceptKey() {
	fmt.Println(websocket.AcceptKey("dGhlIHNhbXBsZSBub25jZQ=="))
	// Output: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
}

// The frame is the masked one of section 5.7.
func ExampleParseFrameHeader() {
	frame := []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}

	h, n, err := websocket.ParseFrameHeader(frame)
	if err != nil {
		log.Fatal(err)
	}
	if n == 0 {
		log.Fatal("more bytes are needed")
	}
	payload := frame[n:][:h.Length]
	websocket.Mask(payload, h.MaskKey, 0)
	fmt.Printf("%v, %d bytes: %s\n", h.Opcode, h.Length, payload)
	// Output: text, 5 bytes: Hello
}

func ExampleFrameHeader_Append() {
	body := binary.BigEndian.AppendUint16(nil, uint16(websocket.StatusGoingAway))
	h := websocket.FrameHeader{Fin: true, Opcode: websocket.OpClose, Length: int64(len(body))}
	frame := append(h.Append(nil), body...)
	fmt.Printf("% x\n", frame)
	// Output: 88 02 03 e9
}

// A payload that arrives in pieces is unmasked piece by piece.
func ExampleMask() {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	pos := 0
	for _, piece := range [][]byte{{0x7f}, {0x9f, 0x4d}, {0x51, 0x58}} {
		pos = websocket.Mask(piece, key, pos)
		fmt.Printf("%s", piece)
	}
	fmt.Println()
	// Output: Hello
}
