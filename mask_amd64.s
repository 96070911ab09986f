//go:build !purego && !race && !msan && !asan

#include "textflag.h"

// func maskBlocksAVX2(dst, src *byte, n int, k8 uint64)
//
// A block is loaded whole before any of it is stored, so that dst may overlap
// src where it begins no later.
TEXT ·maskBlocksAVX2(SB), NOSPLIT, $0-32
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	VPBROADCASTQ k8+24(FP), Y2

block:
	VPXOR   0(SI), Y2, Y0
	VPXOR   32(SI), Y2, Y1
	VMOVDQU Y0, 0(DI)
	VMOVDQU Y1, 32(DI)
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $64, CX
	JNZ     block
	VZEROUPPER
	RET

// func hasAVX2() bool
//
// The names are those of Intel's manual, volume 1, section 14.3.
TEXT ·hasAVX2(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)

	XORL AX, AX
	CPUID
	CMPL AX, $7 // the last leaf
	JL   done

	MOVL $1, AX
	XORL CX, CX
	CPUID
	ANDL $(1<<27 | 1<<28), CX // OSXSAVE, AVX
	CMPL CX, $(1<<27 | 1<<28)
	JNE  done

	XORL CX, CX
	XGETBV
	ANDL $6, AX // XMM and YMM registers in XCR0
	CMPL AX, $6
	JNE  done

	MOVL  $7, AX
	XORL  CX, CX
	CPUID
	BTL   $5, BX // AVX2
	SETCS ret+0(FP)

done:
	RET
